"""Frames and arrays -> SVG: drawings that read well in light, in dark and on paper."""
