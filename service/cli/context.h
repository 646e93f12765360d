// What every command has: the common options, who does the work, and how results and errors are printed.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "service/cli/backend.h"
#include "service/cli/command_line.h"
#include "service/model_store.h"

namespace blazon::service::cli {

struct Context {
  bool json = false;
  std::string server;  // empty: this process
  ModelStoreOptions models;
  std::string reranker;  // the folder of a cross-encoder; empty: none
  std::optional<uint64_t> seed;
  std::function<int()> run;  // the chosen command; returns the exit status
  std::string command_line;  // as it was typed, for notes
  std::vector<std::string> arguments = {};
  bool handles_signals = false;  // the chosen command waits for Ctrl-C itself
  bool takes_processes = false;  // the chosen command joins the processes that the environment names
  bool names_adapter = false;    // with --server, the chosen command's --adapter is the name of one that it has loaded

  // Combinations that make no sense.
  absl::Status CheckOptions() const;

  // What --adapter names on the server; empty: nothing, or there is no server.
  std::string ServerAdapter() const { return server.empty() ? std::string() : models.adapter.string(); }

  // Made on the first call.
  absl::StatusOr<Backend*> OpenBackend();
  absl::StatusOr<ModelStore*> OpenModels();  // of this process

 private:
  std::unique_ptr<ModelStore> store_;
  std::unique_ptr<Backend> backend_;
};

// Prints "blazon: message" on standard error; returns `exit_status`.
int Fail(const absl::Status& status, int exit_status = kFailed);

// Prints `message` as one line of JSON.
void PrintJson(const google::protobuf::Message& message);
// The same, with one more field before the message's own.
void PrintJson(std::string_view field, std::string_view value, const google::protobuf::Message& message);

// Where a person finds what a piece says: "path#page=3", or "path:line" when the file has no places.
std::string Citation(const v1::ScoredChunk& chunk, int32_t line);

// Whether a person reads this output.
bool OutputIsTerminal();
bool ErrorIsTerminal();

}  // namespace blazon::service::cli
