"""Transfers that the ACS asks for, from acceptance to the confirmed report."""
