"""Charts, tables and images as blocks of a page: each from plain numbers, or None where they were not measured."""
