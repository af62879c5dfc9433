"""Stores that speak SQL. All SQL of Homeport lives here, named, with a sentence above each query."""
