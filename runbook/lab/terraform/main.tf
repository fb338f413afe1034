# The practice platform's machines. Each terraform_data stands for one server of the cloud; its
# provisioner asks the practice lab for the VM. No provider is downloaded.

locals {
  production = [for n in range(var.production_vm_count) : {
    name        = "vm${n + 1}"
    server_type = var.production_server_type
    image       = var.server_image
    location    = var.locations[n % length(var.locations)]
    address     = "203.0.113.${11 + n}"
  }]
}

resource "terraform_data" "production" {
  count            = var.production_vm_count
  input            = local.production[count.index]
  triggers_replace = [var.production_server_type]

  provisioner "local-exec" {
    command = "'${path.module}/server' create ${self.input.name}"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "'${path.module}/server' delete ${self.input.name}"
  }
}

resource "terraform_data" "backup" {
  input = {
    name        = "backup"
    server_type = var.backup_server_type
    address     = "203.0.113.100"
  }
  triggers_replace = [var.backup_server_type]

  provisioner "local-exec" {
    command = "'${path.module}/server' create ${self.input.name}"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "'${path.module}/server' delete ${self.input.name}"
  }
}
