ssh_public_key_path    = "@PUBLIC_KEY@"
domain_name            = "@DOMAIN@"
production_vm_count    = 3
production_server_type = "cpx41"
backup_server_type     = "cpx21"
server_image           = "ubuntu-22.04"
locations              = ["nbg1", "fsn1", "hel1"]
