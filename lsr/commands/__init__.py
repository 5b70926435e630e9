"""One module per verb of the command line, with `main(arguments) -> exit code`."""
