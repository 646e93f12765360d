// What this machine can do at best, to say of a training run how near it comes.
#pragma once

namespace blazon::language {

// Floating-point operations a second of a product of two 1024 x 1024 matrices, the fastest of a few, in fp32 or bf16,
// with the threads that LibTorch is set to. Measured at the first call, about a tenth of a second; then the same
// number.
double MatmulPeak(bool bf16);

}  // namespace blazon::language
