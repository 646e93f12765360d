// A device that stands for every device but the CPU, where no other is at hand: its tensors lie in memory of the CPU at
// addresses that fault when a kernel of the CPU reads them, and its operations are the CPU's, by way of LibTorch's
// dispatcher.
//
// What goes wrong on a GPU goes wrong here: an operation that meets a tensor of the CPU (beside a number, of no
// dimensions) throws c10::Error with the operation's name, and code that reads a tensor's memory itself dies. What goes
// well has the values that the plain operations of LibTorch give.
//
// Thread safety: as LibTorch's. Not for training: gradients must be off.
#pragma once

#include <c10/core/Device.h>

namespace blazon::language {

at::Device FarDevice();

}  // namespace blazon::language
