"""Tell English from other languages that are written in the same letters, by their most frequent words.

BERT's word pieces contain many words of other languages, so that a share of known words alone says little.
"""

# Frequent words of German, Dutch, French, Spanish, Portuguese, Italian, Polish and Swedish that are not
# English, without accents, as word pieces have none.
FREQUENT = """
abbiamo aber ale alles anche ar att auch auf av avait avec avoir bardzo bei bien bij byl byla bylo
ce ces cette che com como cuando czy dans das dass dat della delle der des det deze di dich diese
dieser dieses dit dla du een ein eine einem einen einer el ela ele elle elles er es est esta este
esto et etait etre ett fait foi fue fur gdy geen gli ha habe haben hace har hatte heb heeft het hij
ich ihn ihr ik il ils immer inte io isso ist ja jag jak je jestem jij juz kann kein keine konnte la
las le lei les leur los lui maar mais mehr mich mir mit moge molto muito muy mycket naar nach nao
nas ne nel nella nicht nichts nie niet noch nog nos nous nur och oder ona ook os ou pas perche pero
piu por porque przez que questa questo qui rien schon sehr ser ses sich sie sind som sono sont su
sus tak tem tiene todo tout tres ty tylko uit uma un una und une uno unos uns var voce von voor vous
war waren wat weil wel wenn werden wie wij wir wird ze zijn zu zum zur
"""
FOREIGN = frozenset(FREQUENT.split())
