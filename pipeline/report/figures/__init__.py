"""Charts from signals, one subject a file: plain Plotly figures, pure. A chart is None where nothing was measured."""
