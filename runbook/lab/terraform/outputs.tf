output "production_ips" {
  value = [for server in terraform_data.production : server.output.address]
}

output "backup_ip" {
  value = terraform_data.backup.output.address
}
