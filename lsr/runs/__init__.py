"""The records of a training run: its logged metrics, and tables and figures made of them."""
