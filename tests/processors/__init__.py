"""The golden texts on other processors, emulated: Haswell (AVX2 alone), and arm64 on demand."""
