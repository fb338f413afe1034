variable "hcloud_token" {
  type      = string
  sensitive = true

  validation {
    condition     = length(var.hcloud_token) > 0
    error_message = "The cloud token is empty."
  }
}

variable "couchdb_user" {
  type    = string
  default = "admin"
}

variable "couchdb_password" {
  type      = string
  sensitive = true
}

variable "ssh_public_key_path" {
  type = string

  validation {
    condition     = fileexists(var.ssh_public_key_path)
    error_message = "There is no public key at ssh_public_key_path."
  }
}

variable "domain_name" {
  type = string
}

variable "production_vm_count" {
  type    = number
  default = 3
}

variable "production_server_type" {
  type    = string
  default = "cpx41"
}

variable "backup_server_type" {
  type    = string
  default = "cpx21"
}

variable "server_image" {
  type    = string
  default = "ubuntu-22.04"
}

variable "locations" {
  type    = list(string)
  default = ["nbg1", "fsn1", "hel1"]
}

variable "backup_location" {
  type    = string
  default = "fsn1"
}
