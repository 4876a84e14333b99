    // e = T · d · Tᵀ, where `matrix` holds the nonzero factors of T, a row a list of {factor, at},
    // and `columns` the columns that have any.
{% for j in columns %}{% for row in matrix %}
    let h{{ loop.index0 }}_{{ j }} = {% for term in row %}{% if not loop.first %} + {% endif %}{{ term.factor }} * d{{ term.at }}_{{ j }}{% endfor %};
{%- endfor %}{% endfor %}
{% for i in range(matrix | length) %}{% for row in matrix %}
    let e{{ i }}_{{ loop.index0 }} = {% for term in row %}{% if not loop.first %} + {% endif %}{{ term.factor }} * h{{ i }}_{{ term.at }}{% endfor %};
{%- endfor %}{% endfor %}
