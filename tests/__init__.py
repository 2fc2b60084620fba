"""The tests of the book: its pages, its lib, its tools and its site."""
