//! The platform suite over the memory platform in its four shapes.

use std::{process::ExitCode, sync::Arc};

use deploy_core::{
    conformance::platform::{Factory, MemoryFactory, tests},
    memory::Shape,
};
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let shapes = Shape::ALL.map(|shape| Arc::new(MemoryFactory(shape)) as Arc<dyn Factory>);
    libtest_mimic::run(&Arguments::from_args(), tests(shapes)).exit_code()
}
