// Expressions, by recursive descent in Jinja's order: conditional, or, and, not, comparison, + -, ~, * / // %, **,
// unary, postfix, filters and tests.
#pragma once

#include <memory>
#include <string_view>

#include "language/jinja/syntax.h"
#include "language/jinja/token_stream.h"

namespace blazon::language::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream* tokens) : tokens_(*tokens) {}

  // Each returns an expression also after an error, which tokens->status() then holds.
  ExpressionPtr Conditional();
  ExpressionPtr Or();
  ExpressionPtr Primary();
  // One expression, or several with commas between them: a tuple. With `with_condition` false, "if" ends it.
  ExpressionPtr TupleOrOne(bool with_condition = true, bool may_be_empty = false);
  // "| name(...) | ..." behind `input`; null input: that of a filter block, whose first filter has no "|".
  ExpressionPtr Filters(ExpressionPtr input, bool starts_with_name = false);

  static constexpr int kMaxHeight = 100;

 private:
  ExpressionPtr Make(Expression::Kind kind, Position position, std::string name = "");
  // Notes the height; too high a tree is an error.
  ExpressionPtr Done(ExpressionPtr node);
  ExpressionPtr Binary(Expression::Kind kind, std::string name, ExpressionPtr left, ExpressionPtr right,
                       Position position);
  ExpressionPtr And();
  ExpressionPtr Not();
  ExpressionPtr Compare();
  ExpressionPtr Sum();
  ExpressionPtr Concatenation();
  ExpressionPtr Product();
  ExpressionPtr Power();
  ExpressionPtr Unary(bool with_filters = true);
  ExpressionPtr List();
  ExpressionPtr Dict();
  ExpressionPtr Postfix(ExpressionPtr node);
  ExpressionPtr FiltersAndTests(ExpressionPtr node);
  ExpressionPtr Subscript(ExpressionPtr object, Position position);
  ExpressionPtr Call(ExpressionPtr callee);
  ExpressionPtr Test(ExpressionPtr operand);
  void Arguments(CallArguments* arguments);

  TokenStream& tokens_;
  int depth_ = 0;
};

}  // namespace blazon::language::jinja
