//! `daybook drill`: starts a system of its own as separate processes, crashes it by a seeded schedule under load, heals it,
//! and has an auditor say whether every promise was kept.

mod audit;
mod record;
