"""The golden texts on emulated processors: Haswell (AVX2 without VNNI) and, on request, arm64."""
