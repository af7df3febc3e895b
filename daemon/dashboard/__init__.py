"""The page at `/`: its files, the chart library it draws with, and what it asks that no other part answers.

It shows; what is abnormal, why and who did it, other parts have found out.
"""
