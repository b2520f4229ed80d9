"""The ground floor: errors, random addresses, files that are written whole or not at all.

It imports NumPy and the standard library only, and nothing of the other floors.
"""
