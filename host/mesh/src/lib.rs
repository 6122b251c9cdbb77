//! Galleria.
