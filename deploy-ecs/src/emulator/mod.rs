//! The ECS control plane, in process.
