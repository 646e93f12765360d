#include "language/jinja/parser.h"

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "language/jinja/expression_parser.h"
#include "language/jinja/scoping.h"
#include "language/jinja/token_stream.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language::jinja {
namespace {

using Kind = Statement::Kind;

// Tags of Jinja that chat templates have no use for.
constexpr std::string_view kRefusedTags[] = {"include",    "import", "from", "extends", "block", "call",
                                             "autoescape", "trans",  "do",   "debug",   "print"};

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)), expressions_(&tokens_) {}

  absl::StatusOr<Block> Run() {
    Block block = ParseBlock({});
    if (!tokens_.status().ok()) return tokens_.status();
    return block;
  }

 private:
  // Statements up to a tag with one of the names in `ends`, of which the name is then the current token; with no ends,
  // up to the end of the template.
  Block ParseBlock(std::initializer_list<std::string_view> ends) {
    Block block;
    if (++depth_ > ExpressionParser::kMaxHeight) tokens_.Fail("blocks nest deeper than 100 levels");
    while (!tokens_.At(TokenKind::kEnd)) {
      const Token token = tokens_.current();
      Statement statement;
      statement.position = token.position;
      tokens_.Advance();
      if (token.kind == TokenKind::kText) {
        statement.kind = Kind::kText;
        statement.text = Text(token.text, /*is_data=*/false);
      } else if (token.kind == TokenKind::kOutputBegin) {
        statement.kind = Kind::kOutput;
        statement.expression = expressions_.TupleOrOne();
        // Nothing is escaped, so that "safe" changes nothing in what is put out.
        while (statement.expression->kind == Expression::Kind::kFilter && statement.expression->name == "safe" &&
               statement.expression->arguments.positional.empty() && statement.expression->arguments.named.empty()) {
          statement.expression = std::move(statement.expression->children[0]);
        }
        tokens_.Expect(TokenKind::kOutputEnd, "'}}'");
      } else {
        for (const std::string_view end : ends) {
          if (!tokens_.AtName(end)) continue;
          --depth_;
          return block;
        }
        ParseTag(&statement);
        tokens_.Expect(TokenKind::kBlockEnd, "'%}'");
      }
      block.push_back(std::move(statement));
    }
    --depth_;
    if (ends.size() > 0) tokens_.Fail(absl::StrCat("the template ends before '", std::string(*(ends.end() - 1)), "'"));
    return block;
  }

  // The rest of the opening tag, the body and the name of the closing tag.
  Block ParseBody(std::string_view end) {
    Block body = ParseOpenBody({end});
    tokens_.ExpectName(end);
    return body;
  }
  Block ParseOpenBody(std::initializer_list<std::string_view> ends) {
    tokens_.AcceptOperator(":");
    tokens_.Expect(TokenKind::kBlockEnd, "'%}'");
    return ParseBlock(ends);
  }

  void ParseTag(Statement* statement) {
    const Position position = tokens_.current().position;
    const std::string tag = tokens_.TakeName();
    if (tag == "for") return ParseFor(statement);
    if (tag == "if") return ParseIf(statement);
    if (tag == "set") return ParseSet(statement);
    if (tag == "macro") return ParseMacro(statement);
    if (tag == "with") return ParseWith(statement);
    if (tag == "filter") {
      statement->kind = Kind::kFilter;
      statement->expression = expressions_.Filters(nullptr, /*starts_with_name=*/true);
      statement->body = ParseClosed("endfilter");
    } else if (tag == "generation") {
      statement->kind = Kind::kGeneration;
      statement->body = ParseClosed("endgeneration");
    } else if (tag == "break" || tag == "continue") {
      statement->kind = tag == "break" ? Kind::kBreak : Kind::kContinue;
      if (loops_ == 0) tokens_.FailAt(position, absl::StrCat("'", tag, "' stands in no loop of its own block"));
    } else {
      for (const std::string_view refused : kRefusedTags) {
        if (tag == refused) tokens_.Refuse(position, absl::StrCat("the tag '", tag, "'"));
      }
      tokens_.FailAt(position, absl::StrCat("'", tag, "' is no tag, or closes nothing that is open"));
    }
  }

  // A body that breaks no loop around it.
  Block ParseClosed(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Block body = ParseBody(end);
    loops_ = loops;
    return body;
  }

  Target ParseTarget(bool with_attributes) {
    Target target;
    target.position = tokens_.current().position;
    std::vector<Target> parts;
    bool is_tuple = false;
    while (!tokens_.AtOperator("=") && !tokens_.AtName("in") && !tokens_.At(TokenKind::kEnd) &&
           !tokens_.AtOperator(")")) {
      if (tokens_.AcceptOperator("(")) {
        if (++depth_ > ExpressionParser::kMaxHeight) tokens_.Fail("a target nests too deep");
        parts.push_back(ParseTarget(with_attributes));
        --depth_;
        tokens_.ExpectOperator(")");
      } else {
        parts.push_back(ParseName(with_attributes));
      }
      if (!tokens_.AcceptOperator(",")) break;
      is_tuple = true;
    }
    if (parts.empty()) tokens_.Fail(absl::StrCat("expected a name to assign to, found ", tokens_.Found()));
    if (!is_tuple && !parts.empty()) return std::move(parts[0]);
    target.parts = std::move(parts);
    return target;
  }

  Target ParseName(bool with_attributes) {
    Target target;
    target.position = tokens_.current().position;
    target.name = tokens_.TakeName();
    for (const std::string_view fixed : {"true", "false", "none", "True", "False", "None"}) {
      if (target.name == fixed)
        tokens_.FailAt(target.position, absl::StrCat("'", target.name, "' cannot be assigned to"));
    }
    if (with_attributes && tokens_.AcceptOperator(".")) target.attribute = tokens_.TakeName();
    return target;
  }

  void ParseFor(Statement* statement) {
    statement->kind = Kind::kFor;
    statement->target = ParseTarget(false);
    tokens_.ExpectName("in");
    statement->expression = expressions_.TupleOrOne(/*with_condition=*/false);
    if (tokens_.AcceptName("if")) statement->test = expressions_.Conditional();
    if (tokens_.AtName("recursive")) tokens_.Refuse(tokens_.current().position, "a recursive loop");
    ++loops_;
    statement->body = ParseOpenBody({"endfor", "else"});
    --loops_;
    if (tokens_.AcceptName("else")) {
      statement->otherwise = ParseBody("endfor");
    } else {
      tokens_.ExpectName("endfor");
    }
  }

  void ParseIf(Statement* statement) {
    statement->kind = Kind::kIf;
    do {
      Statement::Branch branch;
      branch.test = expressions_.TupleOrOne(/*with_condition=*/false);
      branch.body = ParseOpenBody({"elif", "else", "endif"});
      statement->branches.push_back(std::move(branch));
    } while (tokens_.AcceptName("elif"));
    if (tokens_.AcceptName("else")) {
      statement->otherwise = ParseBody("endif");
    } else {
      tokens_.ExpectName("endif");
    }
  }

  void ParseSet(Statement* statement) {
    statement->target = ParseTarget(true);
    if (tokens_.AcceptOperator("=")) {
      statement->kind = Kind::kSet;
      statement->expression = expressions_.TupleOrOne();
      return;
    }
    statement->kind = Kind::kSetBlock;
    if (tokens_.AtOperator("|")) statement->expression = expressions_.Filters(nullptr);
    statement->body = ParseClosed("endset");
  }

  void ParseMacro(Statement* statement) {
    statement->kind = Kind::kMacro;
    statement->name = ParseName(false).name;
    tokens_.ExpectOperator("(");
    while (!tokens_.AtOperator(")") && !tokens_.At(TokenKind::kEnd)) {
      Statement::Parameter parameter;
      parameter.name = ParseName(false).name;
      if (tokens_.AcceptOperator("=")) {
        parameter.value = expressions_.Conditional();
      } else if (!statement->parameters.empty() && statement->parameters.back().value != nullptr) {
        tokens_.Fail("a parameter without a default follows one with a default");
      }
      for (const Statement::Parameter& known : statement->parameters) {
        if (known.name == parameter.name)
          tokens_.Fail(absl::StrCat("the parameter '", parameter.name, "' is there twice"));
      }
      statement->parameters.push_back(std::move(parameter));
      if (!tokens_.AtOperator(")")) tokens_.ExpectOperator(",");
    }
    tokens_.ExpectOperator(")");
    statement->body = ParseClosed("endmacro");
  }

  void ParseWith(Statement* statement) {
    statement->kind = Kind::kWith;
    while (!tokens_.At(TokenKind::kBlockEnd) && !tokens_.At(TokenKind::kEnd)) {
      if (!statement->parameters.empty()) tokens_.ExpectOperator(",");
      Statement::Parameter parameter;
      parameter.name = ParseName(false).name;
      tokens_.ExpectOperator("=");
      parameter.value = expressions_.Conditional();
      statement->parameters.push_back(std::move(parameter));
    }
    statement->body = ParseBody("endwith");
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loops_ = 0;  // around the statement, within its macro or block
};

}  // namespace

absl::StatusOr<Block> Parse(std::string_view source) {
  if (!IsValidUtf8(source)) return absl::InvalidArgumentError("chat template: the text is not valid UTF-8");
  absl::StatusOr<std::vector<Token>> tokens = Tokenize(source);
  if (!tokens.ok()) return tokens.status();
  absl::StatusOr<Block> block = Parser(*std::move(tokens)).Run();
  if (block.ok()) HideNamesBeforeTheyAreSet(&*block);
  return block;
}

}  // namespace blazon::language::jinja
