"""qrtrack: the service a manufacturer's packing line runs on."""
