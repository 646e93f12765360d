#include "service/training/process_group.h"

#include <ATen/ops/from_blob.h>

#include <cstdlib>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace blazon::service {
namespace {

constexpr int kMostProcesses = 1024;
constexpr std::chrono::milliseconds kLook{20};  // between two looks for those who have not come

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<int> NumberOf(const char* name, int least, int most) {
  const std::string text = Variable(name);
  int number = 0;
  if (!absl::SimpleAtoi(text, &number) || number < least || number > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("the environment's ", name, " is '", text, "'; it must be ", least, " to ", most,
                     ". Several processes need RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun sets them"));
  }
  return number;
}

// An exception's first line, without LibTorch's and Gloo's places in their sources.
std::string FirstLine(const char* what) {
  std::string line(what);
  line = line.substr(0, line.find('\n'));
  if (const size_t end = line.find("] "); line.starts_with("[") && end != std::string::npos)
    line = line.substr(end + 2);
  return line.substr(0, 200);
}

bool IsLoopback(const std::string& host) {
  return host.empty() || host == "localhost" || host == "::1" || host.starts_with("127.");
}

c10::intrusive_ptr<c10d::Store> OpenStore(const ProcessPlace& place) {
  if (!place.file.empty()) return c10::make_intrusive<c10d::FileStore>(place.file, place.size);
  c10d::TCPStoreOptions options;
  options.port = place.port;
  options.isServer = place.rank == 0 && place.host_serves;
  options.waitWorkers = false;
  options.timeout = ProcessGroup::kMeeting;
  return c10::make_intrusive<c10d::TCPStore>(place.host, options);
}

std::string KeyOf(int rank) { return absl::StrCat("blazon/", rank); }

std::string Meeting(const ProcessPlace& place) {
  return place.file.empty() ? absl::StrCat(place.host, ":", place.port) : place.file;
}

}  // namespace

absl::StatusOr<std::optional<ProcessPlace>> PlaceInEnvironment() {
  if (Variable("WORLD_SIZE").empty() || Variable("WORLD_SIZE") == "1") return std::nullopt;
  const absl::StatusOr<int> size = NumberOf("WORLD_SIZE", 1, kMostProcesses);
  if (!size.ok()) return size.status();
  const absl::StatusOr<int> rank = NumberOf("RANK", 0, *size - 1);
  if (!rank.ok()) return rank.status();
  const absl::StatusOr<int> port = NumberOf("MASTER_PORT", 1, 65535);
  if (!port.ok()) return port.status();
  const std::string host = Variable("MASTER_ADDR");
  if (host.empty()) {
    return absl::InvalidArgumentError(
        "the environment has no MASTER_ADDR: the machine of the first process, where "
        "all meet");
  }
  return ProcessPlace{.rank = *rank,
                      .size = *size,
                      .host = host,
                      .port = static_cast<uint16_t>(*port),
                      .host_serves = Variable("TORCHELASTIC_USE_AGENT_STORE") != "True",
                      .interface = Variable("GLOO_SOCKET_IFNAME")};
}

struct ProcessGroup::Backend {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> gloo;
};

ProcessGroup::ProcessGroup(int rank, int size, std::unique_ptr<Backend> backend)
    : rank_(rank), size_(size), backend_(std::move(backend)) {}
ProcessGroup::~ProcessGroup() = default;

absl::StatusOr<std::shared_ptr<ProcessGroup>> ProcessGroup::Join(const ProcessPlace& place,
                                                                 const std::function<absl::Status()>& watch) {
  const auto failed = [&](const std::string& why) {
    return absl::UnavailableError(
        absl::StrCat("process ", place.rank, " of ", place.size, ": ", why,
                     ". Start as many as there shall be, and see that their machines reach each other"));
  };
  try {
    auto backend = std::make_unique<Backend>();
    backend->store = OpenStore(place);
    backend->store->set(KeyOf(place.rank), std::vector<uint8_t>{1});
    const auto until = std::chrono::steady_clock::now() + kMeeting;
    for (int other = 0; other < place.size; ++other) {
      while (!backend->store->check({KeyOf(other)})) {
        if (absl::Status status = watch(); !status.ok()) return status;
        if (std::chrono::steady_clock::now() > until) {
          return failed(absl::StrCat("process ", other, " did not come to ", Meeting(place), " in ", kMeeting.count(),
                                     " minutes"));
        }
        std::this_thread::sleep_for(kLook);
      }
    }
    auto options = c10d::ProcessGroupGloo::Options::create(kSilence);
    if (!place.interface.empty()) {
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(place.interface));
    } else if (IsLoopback(place.host)) {
      options->devices.push_back(
          c10d::ProcessGroupGloo::createDeviceForHostname(place.host.empty() ? "127.0.0.1" : place.host));
    } else {
      options->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
    }
    backend->gloo =
        c10::make_intrusive<c10d::ProcessGroupGloo>(backend->store, place.rank, place.size, std::move(options));
    return std::shared_ptr<ProcessGroup>(new ProcessGroup(place.rank, place.size, std::move(backend)));
  } catch (const std::exception& error) {
    return failed(absl::StrCat("the processes could not meet at ", Meeting(place), " (", FirstLine(error.what()), ")"));
  }
}

absl::Status ProcessGroup::Failed(const char* what) const {
  return absl::UnavailableError(
      absl::StrCat("process ", rank_, " of ", size_, ": ", kLost, " (", FirstLine(what), ")"));
}

template <typename Number>
absl::Status ProcessGroup::SumOf(std::span<Number> numbers) {
  if (numbers.empty()) return absl::OkStatus();
  try {
    std::vector<at::Tensor> tensors = {
        at::from_blob(numbers.data(), {std::ssize(numbers)}, c10::CppTypeToScalarType<Number>::value)};
    backend_->gloo->allreduce(tensors)->wait();
  } catch (const std::exception& error) {
    return Failed(error.what());
  }
  return absl::OkStatus();
}

absl::Status ProcessGroup::Sum(std::span<float> numbers) { return SumOf(numbers); }
absl::Status ProcessGroup::Sum(std::span<double> numbers) { return SumOf(numbers); }

absl::Status ProcessGroup::Broadcast(std::span<std::byte> bytes, int from) {
  if (bytes.empty()) return absl::OkStatus();
  try {
    std::vector<at::Tensor> tensors = {at::from_blob(bytes.data(), {std::ssize(bytes)}, at::kByte)};
    c10d::BroadcastOptions options;
    options.rootRank = from;
    backend_->gloo->broadcast(tensors, options)->wait();
  } catch (const std::exception& error) {
    return Failed(error.what());
  }
  return absl::OkStatus();
}

}  // namespace blazon::service
