//! What Redis commands are.
pub mod category;
pub mod databases;
pub mod keys;
mod lookup;
mod movable;
pub mod reported;
mod spec;
pub mod syntax;
mod table;

pub use lookup::{CommandTable, Reported, Resolution};
pub use spec::{
    Access, Affinity, Begin, Categories, Channels, CommandId, Databases, Find, Flags, KeySpec, Movable, Spec,
    flag,
};
