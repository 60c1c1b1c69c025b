//! The wire, names, certificates, the key.
