// blazon chat: a conversation, line by line.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "service/cli/answer_output.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/generation_options.h"
#include "service/cli/input.h"
#include "service/cli/interrupt.h"
#include "service/cli/session.h"

namespace blazon::service::cli {
namespace {

namespace fs = std::filesystem;

constexpr char kHelp[] = R"(/image FILE   put a picture beside the next message; more than one where the model sees
/reset        forget the conversation, but not the system prompt
/save FILE    write the conversation to a file, for --session
/help         show this
/quit         leave; so does Ctrl-D. Ctrl-C stops an answer)";

// Tokens that a template adds to a message at most, generously: roles, control tokens, line breaks.
constexpr int64_t kTokensAroundMessage = 16;

struct ChatFlags {
  std::string system;
  std::string collection;
  std::vector<fs::path> images;
  fs::path session;
  bool no_rewrite = false;
  GenerationFlags generation;
};

int64_t PicturesOf(const v1::Message& message) {
  return std::count_if(message.parts().begin(), message.parts().end(),
                       [](const v1::Part& part) { return part.has_image(); });
}

class Conversation {
 public:
  Conversation(const ChatFlags& flags, v1::GenerationOptions options, Context& context, Backend& backend)
      : flags_(flags), options_(std::move(options)), context_(context), backend_(backend) {}

  absl::Status Begin() {
    std::error_code error;
    if (!flags_.session.empty() && fs::exists(flags_.session, error)) {
      absl::StatusOr<v1::Chat> chat = ReadSession(flags_.session);
      if (!chat.ok()) return chat.status();
      chat_ = *std::move(chat);
      Note(absl::StrCat("going on with ", chat_.messages_size(), " messages of ", flags_.session.string()));
    }
    images_ = flags_.images;
    if (flags_.system.empty()) return absl::OkStatus();
    if (chat_.messages_size() > 0 && chat_.messages(0).role() == v1::ROLE_SYSTEM) {
      *chat_.mutable_messages(0) = MakeMessage(v1::ROLE_SYSTEM, flags_.system);
      return absl::OkStatus();
    }
    v1::Chat whole;
    *whole.add_messages() = MakeMessage(v1::ROLE_SYSTEM, flags_.system);
    whole.MergeFrom(chat_);
    chat_ = std::move(whole);
    return absl::OkStatus();
  }

  // Until the input ends or /quit.
  int Run() {
    bool asked_to_leave = false;
    while (true) {
      ResetInterrupt();
      const std::optional<std::string> line = ReadLine();
      if (!line.has_value()) {
        if (!Interrupted()) return failed_ ? kFailed : kDone;
        if (std::exchange(asked_to_leave, true)) return kInterrupted;
        Note("/quit or Ctrl-D leaves, and so does Ctrl-C once more");
        continue;
      }
      asked_to_leave = false;
      const std::string text(absl::StripAsciiWhitespace(*line));
      if (text.empty()) continue;
      if (text == "/quit" || text == "/exit") return failed_ ? kFailed : kDone;
      const absl::Status status = text[0] == '/' ? Command(text) : Turn(text);
      if (!status.ok()) {
        failed_ = !OutputIsTerminal();  // a person sees it and goes on; a script must learn of it
        Fail(status);
      }
    }
  }

 private:
  static void Note(const std::string& text) { std::cerr << "(" << text << ")\n"; }

  // The next line of standard input; nullopt at its end, or when Ctrl-C was pressed.
  static std::optional<std::string> ReadLine() {
    if (OutputIsTerminal() && isatty(STDIN_FILENO) != 0) std::cout << "> " << std::flush;
    char* line = nullptr;
    size_t room = 0;
    const ssize_t length = getline(&line, &room, stdin);
    const std::unique_ptr<char, decltype(&std::free)> owner(line, &std::free);
    if (length >= 0) return std::string(line, static_cast<size_t>(length));
    if (errno == EINTR) std::clearerr(stdin);
    if (OutputIsTerminal()) std::cout << "\n";
    return std::nullopt;
  }

  absl::Status Command(const std::string& text) {
    const size_t space = text.find(' ');
    const std::string name = text.substr(0, space);
    const std::string argument(space == std::string::npos ? absl::string_view()
                                                          : absl::StripAsciiWhitespace(text.substr(space)));
    if (name == "/help") {
      std::cerr << kHelp << "\n";
    } else if (name == "/reset") {
      while (chat_.messages_size() > 0 && chat_.messages().rbegin()->role() != v1::ROLE_SYSTEM) {
        chat_.mutable_messages()->RemoveLast();
      }
      images_.clear();
    } else if (name == "/image" && !argument.empty()) {
      images_.push_back(argument);
    } else if (name == "/save" && !argument.empty()) {
      return WriteSession(argument, chat_);
    } else {
      return absl::InvalidArgumentError(absl::StrCat(name, " is no command here; /help lists them"));
    }
    return absl::OkStatus();
  }

  // One message and its answer. After an error the conversation is as before, and no picture waits any more: one that
  // is refused would be so again.
  absl::Status Turn(const std::string& text) {
    const absl::Status status = Answer(text);
    if (!status.ok() && !images_.empty()) Note("no picture is beside the next message; /image puts one there");
    images_.clear();
    return status;
  }

  absl::Status Answer(const std::string& text) {
    bool sees = false;  // the model itself: pictures become a part of the conversation
    if (!images_.empty()) {
      const absl::StatusOr<v1::Model> model = LanguageModel();
      if (!model.ok()) return model.status();
      sees = model->sees_pictures();
    }
    v1::Message message = MakeMessage(v1::ROLE_USER, text);
    if (sees) {
      message.clear_parts();
      for (const fs::path& image : images_) {
        absl::StatusOr<std::string> picture = ReadInput(image);
        if (!picture.ok()) return picture.status();
        message.add_parts()->mutable_image()->set_data(*std::move(picture));
      }
      message.add_parts()->set_text(text);
    }
    absl::StatusOr<std::string> answer = !flags_.collection.empty()  ? AnswerFromDocuments(text)
                                         : !images_.empty() && !sees ? AnswerFromPicture(text)
                                                                     : AnswerFromModel(message);
    if (!answer.ok()) return answer.status();
    *chat_.add_messages() = std::move(message);
    *chat_.add_messages() = MakeMessage(v1::ROLE_ASSISTANT, *std::move(answer));
    return flags_.session.empty() ? absl::OkStatus() : WriteSession(flags_.session, chat_);
  }

  OnText Printer() const {
    return [this](std::string_view text) {
      if (!context_.json) std::cout << text << std::flush;
    };
  }

  template <typename Response>
  std::string Finish(const Response& response) const {
    if (context_.json) {
      PrintJson(response);
    } else {
      std::cout << (response.finish_reason() == v1::FINISH_REASON_CANCELLED ? " ...\n" : "\n");
    }
    std::cout.flush();
    return response.text();
  }

  absl::StatusOr<std::string> AnswerFromModel(const v1::Message& message) {
    v1::GenerateRequest request;
    *request.mutable_options() = options_;
    *request.mutable_chat() = chat_;
    *request.mutable_chat()->add_messages() = message;
    if (absl::Status status = MakeRoom(*request.mutable_chat()); !status.ok()) return status;
    // Told apart: what was reasoned does not become a part of the conversation.
    if (!request.options().has_reasoning()) request.mutable_options()->set_reasoning(v1::REASONING_MODE_SEPARATE);
    ReasoningPrinter printer(flags_.generation.reasoning);
    const auto on_text = [&](std::string_view text) {
      if (!context_.json) printer.Answer(text);
    };
    const auto on_reasoning = [&](std::string_view text) {
      if (!context_.json) printer.Reasoning(text);
    };
    absl::StatusOr<v1::GenerateResponse> response = backend_.Generate(request, on_text, on_reasoning);
    if (!response.ok()) return response.status();
    int64_t pictures = 0;
    for (const v1::Message& each : request.chat().messages()) pictures += PicturesOf(each);
    if (pictures > 0) tokens_of_picture_ = (response->usage().image_tokens() + pictures - 1) / pictures;
    return Finish(*response);
  }

  absl::StatusOr<std::string> AnswerFromPicture(const std::string& text) {
    if (images_.size() > 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(images_.size(), " pictures are beside one message; this captioner looks at one at a time"));
    }
    absl::StatusOr<std::string> picture = ReadInput(images_[0]);
    if (!picture.ok()) return picture.status();
    v1::CaptionRequest request;
    request.mutable_image()->set_data(*std::move(picture));
    request.set_instruction(text);
    *request.mutable_options() = options_;
    absl::StatusOr<v1::CaptionResponse> response = backend_.Caption(request, Printer());
    if (!response.ok()) return response.status();
    return Finish(*response);
  }

  absl::StatusOr<std::string> AnswerFromDocuments(const std::string& text) {
    v1::AskRequest request;
    request.set_question(text);
    request.set_collection(flags_.collection);
    *request.mutable_options() = options_;
    *request.mutable_conversation() = ConversationOf(chat_);
    request.set_rewrite(!flags_.no_rewrite);
    for (const fs::path& image : images_) {
      absl::StatusOr<std::string> picture = ReadInput(image);
      if (!picture.ok()) return picture.status();
      request.add_images()->set_data(*std::move(picture));
    }
    absl::StatusOr<v1::AskResponse> response = backend_.Ask(request, NoteAsked(text), Printer());
    if (!response.ok()) return response.status();
    const std::string answer = Finish(*response);
    if (context_.json) return answer;
    for (const v1::SupportingSentence& sentence : response->sentences()) {
      const v1::ScoredChunk& source = response->sources(sentence.source());
      std::cout << "  " << Citation(source, sentence.line()) << "  " << sentence.text() << "\n";
    }
    PrintUnsupported(*response);
    return answer;
  }

  // Leaves out the oldest turns until what is left and the answer fit the context, and says so. They stay in the
  // session's file.
  absl::Status MakeRoom(v1::Chat& chat) {
    std::vector<int64_t> tokens;
    int64_t total = options_.has_max_new_tokens() ? options_.max_new_tokens() : kDefaultNewTokens;
    for (const v1::Message& message : chat.messages()) {
      v1::TokenizeRequest request;
      request.set_text(TextOf(message));
      absl::StatusOr<v1::TokenizeResponse> response = backend_.Tokenize(request);
      if (!response.ok()) return response.status();
      tokens.push_back(response->tokens_size() + kTokensAroundMessage + PicturesOf(message) * tokens_of_picture_);
      total += tokens.back();
    }
    absl::StatusOr<int64_t> room = ContextLength();
    if (!room.ok()) return room.status();
    const int first = chat.messages(0).role() == v1::ROLE_SYSTEM ? 1 : 0;
    int dropped = 0;
    // Two at a time: a question goes with its answer. The newest message stays, and is refused where it does not fit.
    while (total > *room && first + dropped + 2 < chat.messages_size()) {
      total -= tokens[first + dropped] + tokens[first + dropped + 1];
      dropped += 2;
    }
    if (dropped == 0) return absl::OkStatus();
    chat.mutable_messages()->DeleteSubrange(first, dropped);
    Note(absl::StrCat("the oldest ", dropped, " messages no longer fit the context of ", *room,
                      " tokens and are left out"));
    return absl::OkStatus();
  }

  absl::StatusOr<int64_t> ContextLength() {
    if (context_length_ > 0) return context_length_;
    const absl::StatusOr<v1::Model> model = LanguageModel();
    if (!model.ok()) return model.status();
    context_length_ = model->context_length();
    if (context_length_ == 0) return absl::UnavailableError("the language model is not loaded");
    return context_length_;
  }

  absl::StatusOr<v1::Model> LanguageModel() {
    const absl::StatusOr<v1::ListModelsResponse> models = backend_.ListModels();
    if (!models.ok()) return models.status();
    for (const v1::Model& model : models->models()) {
      if (model.kind() == v1::MODEL_KIND_LANGUAGE) return model;
    }
    return absl::UnavailableError("there is no language model");
  }

  static constexpr int64_t kDefaultNewTokens = 256;  // as proto/blazon/v1/generation.proto says

  const ChatFlags& flags_;
  const v1::GenerationOptions options_;
  Context& context_;
  Backend& backend_;
  v1::Chat chat_;
  std::vector<fs::path> images_;  // beside the next message
  int64_t context_length_ = 0;    // 0: not asked yet
  // What a picture took in the last prompt that had one, on average; 0: not known yet.
  int64_t tokens_of_picture_ = 0;
  bool failed_ = false;
};

int RunChat(const ChatFlags& flags, Context& context) {
  absl::StatusOr<v1::GenerationOptions> options = ToOptions(flags.generation, context);
  if (!options.ok()) return Fail(options.status(), kWrongUsage);
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  Conversation conversation(flags, *std::move(options), context, **backend);
  if (absl::Status status = conversation.Begin(); !status.ok()) return Fail(status);
  const int exit_status = conversation.Run();
  ResetInterrupt();
  return exit_status;
}

}  // namespace

void AddChat(CLI::App& app, Context& context) {
  auto flags = std::make_shared<ChatFlags>();
  CLI::App* command = app.add_subcommand("chat", "Talk with the model: each line of standard input is a message");
  command->add_option("--system", flags->system, "Instructions that stand above the conversation")->type_name("TEXT");
  command->add_option("--collection", flags->collection, "Answer from these documents, with sources")->type_name("DIR");
  command->add_flag("--no-rewrite", flags->no_rewrite,
                    "With --collection, search for each message as it is, not completed from those before it");
  command->add_option("--image", flags->images, "A picture beside the first message")->type_name("FILE");
  command
      ->add_option("--session", flags->session,
                   "Go on with the conversation in this file, and keep it there after each answer")
      ->type_name("FILE");
  AddGenerationOptions(*command, flags->generation);
  AddReasoningOption(*command, flags->generation);
  command->footer(absl::StrCat(R"(In the conversation:
)",
                               kHelp, R"(

Examples:
  blazon chat
  blazon chat --system "Answer in one sentence." --temperature 0.7 --session talk.json
  blazon chat --collection notes
  blazon chat --model ~/models/gemma-3-4b-it --image photo.jpg
  printf 'What is a lighthouse?\nAnd who keeps it?\n' | blazon chat --json)"));
  command->callback([flags, &context] {
    context.handles_signals = true;
    context.names_adapter = true;
    context.run = [flags, &context] { return RunChat(*flags, context); };
  });
}

}  // namespace blazon::service::cli
