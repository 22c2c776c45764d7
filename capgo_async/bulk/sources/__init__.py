"""Sources of rows: files, standard input and iterables."""
