"""What `lsr eval` consists of."""
