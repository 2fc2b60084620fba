"""The book's thin helper package: plumbing, never the thing a page teaches.

Import the module you need, ``from lib import checks, run``; importing one
does no work and changes no global state.
"""
