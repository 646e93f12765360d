// blazon train rate: a person chooses between two samples of each prompt, and the choice is kept.
#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/cli/context.h"
#include "service/cli/generation_options.h"
#include "service/cli/interrupt.h"
#include "service/cli/preference_commands.h"

namespace blazon::service::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kDraws = 4;  // of two samples that are not the same

struct RateFlags {
  fs::path prompts, output;
  GenerationFlags generation;
};

absl::Status RateError(const fs::path& file, const char* what) {
  return absl::UnavailableError(absl::StrCat(file.string(), " ", what, ": ", std::strerror(errno)));
}

// What is asked: "prompt" or "messages" of a line, as a pair has it.
absl::StatusOr<std::vector<json>> ReadQuestions(const fs::path& file) {
  std::ifstream stream(file);
  if (!stream) return absl::NotFoundError(absl::StrCat(file.string(), " could not be read"));
  std::vector<json> questions;
  int64_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const json value = json::parse(line, nullptr, /*allow_exceptions=*/false);
    const auto wrong = [&](const char* what) {
      return absl::InvalidArgumentError(absl::StrCat(file.string(), ":", number, ": ", what));
    };
    if (!value.is_object()) return wrong("the line is no JSON object in UTF-8");
    if (value.contains("prompt") == value.contains("messages"))
      return wrong("it has to have either \"prompt\" or \"messages\"");
    json question;
    if (value.contains("prompt")) {
      if (!value["prompt"].is_string() || value["prompt"].get<std::string>().empty())
        return wrong("\"prompt\" is empty or no string");
      question["prompt"] = value["prompt"];
    } else {
      const json& messages = value["messages"];
      if (!messages.is_array() || messages.empty()) return wrong("\"messages\" is empty or no list");
      for (const json& message : messages) {
        if (!message.is_object() || !message.value("role", json()).is_string() ||
            !message.value("content", json()).is_string())
          return wrong("a message has no \"role\" or no \"content\"");
      }
      question["messages"] = messages;
    }
    questions.push_back(std::move(question));
  }
  if (questions.empty()) return absl::InvalidArgumentError(absl::StrCat(file.string(), " has no prompt"));
  return questions;
}

absl::StatusOr<v1::GenerateRequest> AskedOf(const json& question, const v1::GenerationOptions& options) {
  v1::GenerateRequest request;
  *request.mutable_options() = options;
  if (question.contains("prompt")) {
    request.mutable_prompt()->add_parts()->set_text(question["prompt"].get<std::string>());
    return request;
  }
  for (const json& each : question["messages"]) {
    const std::string role = each["role"].get<std::string>();
    v1::Message& message = *request.mutable_chat()->add_messages();
    message.set_role(role == "system"      ? v1::ROLE_SYSTEM
                     : role == "user"      ? v1::ROLE_USER
                     : role == "assistant" ? v1::ROLE_ASSISTANT
                                           : v1::ROLE_UNSPECIFIED);
    if (message.role() == v1::ROLE_UNSPECIFIED)
      return absl::InvalidArgumentError(absl::StrCat("a message's role is \"", role, "\""));
    message.add_parts()->set_text(each["content"].get<std::string>());
  }
  return request;
}

// The pairs that people chose so far, a line each, which is on the disk when Add returns.
class PairFile {
 public:
  static absl::StatusOr<PairFile> Open(const fs::path& file) {
    PairFile pairs(file);
    std::ifstream stream(file, std::ios::binary);
    int64_t number = 0;
    std::string line;
    while (std::getline(stream, line)) {
      ++number;
      const json pair = json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!pair.is_object() || stream.eof()) {
        return absl::DataLossError(absl::StrCat(file.string(), ":", number,
                                                ": the line is cut off or no JSON object; mend or delete it, or name "
                                                "another file"));
      }
      pairs.rated_.insert(Question(pair).dump());
    }
    pairs.file_ = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (pairs.file_ < 0) return RateError(file, "cannot be opened");
    return pairs;
  }
  PairFile(PairFile&& other) noexcept
      : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)), rated_(std::move(other.rated_)) {}
  PairFile& operator=(PairFile&&) = delete;
  ~PairFile() {
    if (file_ >= 0) close(file_);
  }

  bool Has(const json& question) const { return rated_.contains(question.dump()); }

  absl::Status Add(const json& question, const std::string& chosen, const std::string& rejected) {
    json pair = question;
    pair["chosen"] = chosen;
    pair["rejected"] = rejected;
    const std::string line = pair.dump() + "\n";
    const off_t before = lseek(file_, 0, SEEK_END);
    for (size_t done = 0; done < line.size();) {
      const ssize_t count = write(file_, line.data() + done, line.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        const absl::Status status = RateError(path_, "could not be written");
        if (ftruncate(file_, before) != 0) return RateError(path_, "ends with a part of a line");
        return status;
      }
      done += static_cast<size_t>(count);
    }
    if (fsync(file_) != 0) return RateError(path_, "could not be written");
    return absl::OkStatus();
  }

 private:
  explicit PairFile(fs::path path) : path_(std::move(path)) {}
  static json Question(const json& pair) {
    json question;
    for (const char* name : {"prompt", "messages"}) {
      if (pair.contains(name)) question[name] = pair[name];
    }
    return question;
  }

  fs::path path_;
  int file_ = -1;
  std::set<std::string> rated_;
};

// Keys as they are pressed, without Enter where a person presses them; white space is passed over.
class Keys {
 public:
  Keys() {
    if (isatty(STDIN_FILENO) == 0 || tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios keys = before_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    changed_ = tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
  }
  ~Keys() {
    if (changed_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  // nullopt: the input's end, or Ctrl-C.
  static std::optional<char> Next() {
    char key = 0;
    while (!Interrupted()) {
      const ssize_t count = read(STDIN_FILENO, &key, 1);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return std::nullopt;
      if (std::strchr(" \t\r\n", key) == nullptr) return key;
    }
    return std::nullopt;
  }

 private:
  termios before_ = {};
  bool changed_ = false;
};

int RunTrainRate(const RateFlags& flags, Context& context) {
  absl::StatusOr<v1::GenerationOptions> options = ToOptions(flags.generation, context);
  if (!options.ok()) return Fail(options.status(), kWrongUsage);
  if (!options->has_temperature()) options->set_temperature(0.8);
  if (!(options->temperature() > 0) || options->num_beams() > 1)
    return Fail(absl::InvalidArgumentError("two samples have to differ: --temperature must be above 0, without beams"),
                kWrongUsage);
  options->set_num_sequences(2);
  const absl::StatusOr<std::vector<json>> questions = ReadQuestions(flags.prompts);
  if (!questions.ok()) return Fail(questions.status());
  absl::StatusOr<PairFile> pairs = PairFile::Open(flags.output);
  if (!pairs.ok()) return Fail(pairs.status());
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  int64_t kept = 0, skipped = 0, before = 0, same = 0;
  const auto end = [&](int status) {
    std::cerr << absl::StrCat(kept, " preferences kept in ", flags.output.string(), ", ", skipped, " skipped");
    if (before > 0) std::cerr << ", " << before << " prompts were rated before";
    if (same > 0) std::cerr << ", of " << same << " prompts both samples were the same";
    std::cerr << std::endl;
    return status;
  };
  const Keys keys;
  for (size_t i = 0; i < questions->size(); ++i) {
    const json& question = (*questions)[i];
    if (pairs->Has(question)) {
      ++before;
      continue;
    }
    absl::StatusOr<v1::GenerateRequest> request = AskedOf(question, *options);
    if (!request.ok()) return Fail(request.status());
    std::string texts[2];
    for (int draw = 0; draw < kDraws && texts[0] == texts[1]; ++draw) {
      if (options->has_seed()) request->mutable_options()->set_seed(options->seed() + 2 * (i * kDraws + draw));
      const auto response = (*backend)->Generate(
          *request, [](std::string_view) {}, nullptr);
      if (!response.ok()) return Fail(response.status());
      if (Interrupted()) return end(kInterrupted);
      for (int j = 0; j < 2 && j < response->sequences_size(); ++j) texts[j] = response->sequences(j).text();
    }
    if (texts[0] == texts[1]) {
      ++same;
      continue;
    }
    std::cout << absl::StrCat("=== ", i + 1, " of ", questions->size(), "\n");
    if (question.contains("prompt")) {
      std::cout << question["prompt"].get<std::string>() << "\n";
    } else {
      for (const json& message : question["messages"])
        std::cout << message["role"].get<std::string>() << ": " << message["content"].get<std::string>() << "\n";
    }
    std::cout << "--- 1\n" << texts[0] << "\n--- 2\n" << texts[1] << "\n";
    while (true) {
      std::cout << "1 or 2 is better, s skips, q ends: " << std::flush;
      const std::optional<char> key = Keys::Next();
      std::cout << (key ? std::string(1, *key) : "") << "\n" << std::flush;
      if (!key) return end(Interrupted() ? kInterrupted : kDone);
      if (*key == 'q') return end(kDone);
      if (*key == 's') {
        ++skipped;
        break;
      }
      if (*key != '1' && *key != '2') continue;
      const int chosen = *key - '1';
      if (absl::Status status = pairs->Add(question, texts[chosen], texts[1 - chosen]); !status.ok())
        return Fail(status);
      ++kept;
      break;
    }
  }
  return end(kDone);
}

}  // namespace

void AddTrainRate(CLI::App& train, Context& context) {
  auto flags = std::make_shared<RateFlags>();
  CLI::App* command = train.add_subcommand("rate", "Choose between two samples of each prompt, and keep the choice");
  command->add_option("--prompts", flags->prompts, "JSON Lines, each with \"prompt\" or \"messages\"")
      ->type_name("FILE")
      ->required();
  command->add_option("--out", flags->output, "The file that preferences are added to, as 'train dpo' reads them")
      ->type_name("FILE")
      ->required();
  AddGenerationOptions(*command, flags->generation);
  command->footer(
      R"(Of each prompt two samples are shown. A key says which is better: 1 or 2; s passes over the prompt, q ends. Keys may also
come from a pipe. Each choice is on the disk before the next prompt is shown, and prompts that the file holds already are
not asked again. The temperature is 0.8 unless said otherwise.

Examples:
  blazon train rate --prompts prompts.jsonl --out pairs.jsonl --max-new-tokens 40
  blazon train dpo --data pairs.jsonl --out my-preferences)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunTrainRate(*flags, context); }; });
}

}  // namespace blazon::service::cli
