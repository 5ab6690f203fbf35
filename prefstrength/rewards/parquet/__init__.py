"""Pairs scored from Parquet to Parquet, part by part."""
