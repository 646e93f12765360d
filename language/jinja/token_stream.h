// The tokens of a template, read one after the other; keeps the first error.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/jinja/lexer.h"

namespace blazon::language::jinja {

class TokenStream {
 public:
  // `tokens` ends with kEnd.
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // After an error everything reads as the end of the template, so that whoever loops over tokens stops.
  const Token& current() const { return status_.ok() ? tokens_[at_] : tokens_.back(); }
  const Token& following() const {
    return status_.ok() && at_ + 1 < tokens_.size() ? tokens_[at_ + 1] : tokens_.back();
  }
  void Advance() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }

  bool At(TokenKind kind) const { return current().kind == kind; }
  bool AtOperator(std::string_view spelling) const { return At(TokenKind::kOperator) && current().text == spelling; }
  bool AtName(std::string_view name) const { return At(TokenKind::kName) && current().text == name; }
  bool AcceptOperator(std::string_view spelling) {
    if (!AtOperator(spelling)) return false;
    Advance();
    return true;
  }
  bool AcceptName(std::string_view name) {
    if (!AtName(name)) return false;
    Advance();
    return true;
  }
  void ExpectOperator(std::string_view spelling) {
    if (!AcceptOperator(spelling)) Fail(absl::StrCat("expected '", std::string(spelling), "', found ", Found()));
  }
  void ExpectName(std::string_view name) {
    if (!AcceptName(name)) Fail(absl::StrCat("expected '", std::string(name), "', found ", Found()));
  }
  void Expect(TokenKind kind, std::string_view description) {
    if (!At(kind)) return Fail(absl::StrCat("expected ", std::string(description), ", found ", Found()));
    Advance();
  }
  // The name at the current place; an error and "" where there is none.
  std::string TakeName() {
    if (!At(TokenKind::kName)) {
      Fail(absl::StrCat("expected a name, found ", Found()));
      return "";
    }
    std::string name = current().text;
    Advance();
    return name;
  }

  std::string Found() const {
    switch (current().kind) {
      case TokenKind::kEnd:
        return "the end of the template";
      case TokenKind::kBlockEnd:
      case TokenKind::kOutputEnd:
        return "the end of the tag";
      case TokenKind::kString:
        return "a string";
      default:
        return absl::StrCat("'", current().text, "'");
    }
  }

  void Fail(std::string_view message, absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    FailAt(current().position, message, code);
  }
  void FailAt(Position position, std::string_view message, absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    if (status_.ok()) status_ = ErrorAt(code, position, message);
  }
  void Refuse(Position position, std::string_view construct) {
    FailAt(position, absl::StrCat(std::string(construct), " is not supported by Blazon's template evaluator"),
           absl::StatusCode::kUnimplemented);
  }
  const absl::Status& status() const { return status_; }

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  absl::Status status_;
};

}  // namespace blazon::language::jinja
