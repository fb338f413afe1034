"""The offline kit: what a recovery needs when the network is gone or the laptop is borrowed."""
