//! The one place where values become unit text.
