use expect_test::expect;

use crate::index::outline_examples::check;

#[test]
fn ruby_modules_singletons_and_reopened_classes_are_listed() {
    check(
        "a.rb",
        r#"# frozen_string_literal: true

require 'json'
require_relative "other"

VERSION = "1.0"
$global = 1
local = 2

# A shop.
module Shop
  LIMIT = 3

  # A cart.
  # More.
  class Cart < Base
    attr_reader :items
    include Enumerable

    def initialize(items = [],
                   name: nil)
      @items = items
    end

    # Makes one.
    def self.build(*args)
      new(*args)
    end

    class << self
      def create; end
    end

    def [](index) = @items[index]

    def ==(other)
      true
    end

    def empty?; @items.empty? end

    def name=(value)
      def nested; end
      @name = value
    end

    private

    def secret
      lambda { |x| y = x }
    end

    private_class_method def self.hidden
      1
    end

    class Line
      def price; end
    end

    Error = Class.new(StandardError)
  end
end

class Shop::Other
  def run
    puts <<~TEXT
      text
    TEXT
  end
end

class Shop::Other
  def more; end
end

module A::B
  def self.f; end
end

if RUBY_VERSION > "3"
  def platform; 1 end
else
  def platform; 2 end
end

TEXT = <<~EOS
  some text
EOS

Point = Struct.new(:x, :y) do
  def dist
    1
  end
end

def broken(
  1
end

def after
  2
end
"#,
        expect![[r#"
            imports 3-4
            variable: VERSION 6
            variable: $global 7
            class: Shop 11/11-63 10 `A shop.`
            class: Shop.Cart 16/16-62 14 `A cart.`
            function: Shop.Cart.initialize 20-21/20-23
            function: Shop.Cart.build 26/26-28 25 `Makes one.`
            function: Shop.Cart.create 31
            function: Shop.Cart.[] 34
            function: Shop.Cart.== 36/36-38
            function: Shop.Cart.empty? 40
            function: Shop.Cart.name= 42/42-45
            function: Shop.Cart.secret 49/49-51
            function: Shop.Cart.hidden 53/53-55
            class: Shop.Cart.Line 57/57-59
            function: Shop.Cart.Line.price 58
            class: Shop.Other 65/65-71, 73/73-75
            function: Shop.Other.run 66/66-70
            function: Shop.Other.more 74
            class: A.B 77/77-79
            function: A.B.f 78
            function: platform 82, 84
            variable: TEXT 87/87-89
            variable: Point 91/91-95
            function: broken 97/97-99
            function: after 101/101-103
            syntax errors 1
        "#]],
    );
}
