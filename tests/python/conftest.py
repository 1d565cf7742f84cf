"""Lets the tests import the reference package from the root of the repository."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
