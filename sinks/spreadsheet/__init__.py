"""What all spreadsheets share: the columns of the table, the values of its cells, and the colours. Pure."""
