"""r3-nano: the small model that this project trains from scratch and ships, so that every experiment runs offline."""
