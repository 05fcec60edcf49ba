//! Bodies of the fuzz targets, shared by `fuzz/` and by the smoke test that runs them over random bytes.
