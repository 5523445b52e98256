"""DICOM and NIfTI to Volume and back: numpy, pydicom, SimpleITK. Never torch, never Streamlit."""
