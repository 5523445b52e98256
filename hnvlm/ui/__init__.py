"""Streamlit and plotly helpers of the pages."""
