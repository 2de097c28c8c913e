//! Where events go: lines, JSON lines, a terminal, tracing spans.
