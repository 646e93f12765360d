// Fetches a model from a hub into the cache: what is there already is not fetched, what was begun is continued, what
// has another digest than the hub's list is thrown away. A file is in the cache whole or not at all, and the revision
// points to a commit only once its files are there.
//
// Several files are fetched at once where the options allow it; those of one content once.
//
// Thread safety: one thread at a time; other processes may pull into the same cache.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "service/hub/cache.h"
#include "service/hub/hub_client.h"

namespace blazon::service::hub {

// What Pull has got through, of all files together.
struct PullProgress {
  int64_t done = 0, total = 0;  // bytes
  absl::string_view file;       // under way
};

// Functions named on_... are called by one thread at a time; the others also by several at once.
struct PullOptions {
  std::function<bool()> interrupted;  // asked again and again; true ends with kCancelled
  // Before anything is fetched: name, commit, licence.
  std::function<void(const HubModel&)> on_model;
  // Once the files are known: their bytes, and how many of them must be fetched.
  std::function<void(int64_t all, int64_t to_fetch)> on_plan;
  std::function<void(const PullProgress&)> on_progress;
  std::function<void(const std::string&)> on_note;  // "trying again in 2 s: ..."

  // Connections of their own for files that are fetched beside the first: with `files_at_once` over 1 it is called that
  // many times less one. Empty: one file after another.
  std::function<std::unique_ptr<HttpClient>()> connect;
  int files_at_once = 4;

  int max_tries = 6;                               // as RetryOptions has it, for each file
  std::function<bool(std::chrono::seconds)> wait;  // as RetryOptions has it
  // Free bytes for a file in this folder; -1: unknown. Empty: asks the file system.
  std::function<int64_t(const std::filesystem::path&)> free_bytes;
};

struct PulledFile {
  std::string name;
  int64_t bytes = 0;
  int64_t fetched_bytes = 0;  // over the network, this time
  std::filesystem::path path;
};

struct PulledModel {
  HubModel model;
  std::filesystem::path path;  // the snapshot; where one file was asked for, that file
  std::vector<PulledFile> files;
};

// Besides what HubClient and SelectFiles return: kResourceExhausted where the disk has no room, kDataLoss for a wrong
// digest or size, kCancelled. The first error stops the other files; what was fetched until then stays for the next
// attempt.
absl::StatusOr<PulledModel> Pull(const ModelReference& reference, HubClient& hub, const Cache& cache,
                                 const PullOptions& options);

}  // namespace blazon::service::hub
