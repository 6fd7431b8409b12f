//! Ledgers as attackers leave them.
