"""Operations: one module each, with a plain PyTorch reference, the native kernels and the derivative."""
