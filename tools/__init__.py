"""What maintains the book: installing, executing pages, serving the site."""
