"""Lets the tests import the reference package from the root of the repository."""
import pathlib
import sys

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed (Debian: python3-torch)")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
