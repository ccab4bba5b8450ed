"""What the documentation site shows and nobody writes by hand: pages and assets made from the sources they describe."""
