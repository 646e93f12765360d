// Processes that compute together, over c10d's Gloo on the CPU: sums over all of them, and what one says to all.
//
// All processes must make the same calls in the same order. A process that ends, whatever the reason, makes the others'
// calls fail at once; one that the network no longer reaches, or that does nothing, after kSilence.
//
// Thread safety: none.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blazon::service {

// Which process of how many, and where they meet.
struct ProcessPlace {
  int rank = 0, size = 1;
  // A file of this machine that all processes can write, not there before the first comes. Or, where it is empty:
  std::string file = {};
  std::string host = {};  // of the first process
  uint16_t port = 0;
  bool host_serves = true;     // the first process waits at the port for the others; false: their launcher does
  std::string interface = {};  // network interface; empty: the loopback where `host` is that, else the machine's own
};

// What the environment says, as torchrun and its kin set it: RANK and WORLD_SIZE, MASTER_ADDR and MASTER_PORT,
// TORCHELASTIC_USE_AGENT_STORE=True where the launcher serves the port, GLOO_SOCKET_IFNAME. nullopt: it names no
// group, or one process alone. kInvalidArgument: a variable is missing or makes no sense; the message names it.
absl::StatusOr<std::optional<ProcessPlace>> PlaceInEnvironment();

class ProcessGroup {
 public:
  static constexpr std::chrono::minutes kMeeting{5}, kSilence{30};
  // What errors of Sum and Broadcast say.
  static constexpr char kLost[] = "another process of this training ended, or cannot be reached";

  // Returns when all processes are there. watch: asked meanwhile; its error ends the waiting.
  // kUnavailable: a process did not come within kMeeting; the message names it.
  static absl::StatusOr<std::shared_ptr<ProcessGroup>> Join(
      const ProcessPlace& place, const std::function<absl::Status()>& watch = [] { return absl::OkStatus(); });
  ~ProcessGroup();

  int rank() const { return rank_; }  // 0 .. size() - 1
  int size() const { return size_; }

  // Every number becomes the sum of all processes' numbers in its place; all receive the same bits.
  // kUnavailable: another process ended, or cannot be reached; the group is of no more use.
  absl::Status Sum(std::span<float> numbers);
  absl::Status Sum(std::span<double> numbers);
  // All processes receive the bytes of process `from`. Errors as above.
  absl::Status Broadcast(std::span<std::byte> bytes, int from = 0);

 private:
  struct Backend;
  ProcessGroup(int rank, int size, std::unique_ptr<Backend> backend);
  absl::Status Failed(const char* what) const;
  template <typename Number>
  absl::Status SumOf(std::span<Number> numbers);

  const int rank_, size_;
  const std::unique_ptr<Backend> backend_;
};

}  // namespace blazon::service
